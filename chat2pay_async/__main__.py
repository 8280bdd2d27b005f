"""`python -m chat2pay_async` is `chat2pay`."""

import sys

from chat2pay_async.cli import main

sys.exit(main())

"""`python -m chat2pay_async` is `chat2pay`."""

import sys

from chat2pay_async.cli import main

if __name__ == "__main__":
    sys.exit(main())

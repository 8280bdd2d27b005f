"""The draw of a request's fault, by a plan and a random generator."""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from chat2pay_async.sandbox._faults.plan import CUSTOMER, FaultKind, InjectedFault
from chat2pay_async.sandbox._service.service import OPERATIONS

_NOISE = 64


@dataclass(frozen=True, slots=True)
class Drawn:
    """A fault with all its details decided."""

    kind: FaultKind
    form: str = ""
    seconds: float = 0.0
    requests: int = 0
    retry_after: int = 0
    where: tuple[str, ...] = ()
    noise: bytes = b""


class Lottery:
    """The faults of a plan, ready to be drawn from for each operation.

    Attributes:
        scripts: The next faults of an operation, where they are not to be drawn.
    """

    def __init__(self, faults: Iterable[InjectedFault], random: Random) -> None:
        self.scripts: defaultdict[str, deque[InjectedFault | None]] = defaultdict(deque)
        self._random = random
        every = tuple(faults)
        self._tables: Mapping[str, tuple[list[float], list[InjectedFault]]] = {
            operation: _table(fault for fault in every if operation in fault.where)
            for operation in (*OPERATIONS, CUSTOMER)
        }

    def draw(self, operation: str) -> Drawn | None:
        """Draw the fault of one request of an operation; mostly none."""
        if script := self.scripts.get(operation):
            fault = script.popleft()
            return None if fault is None else decide(fault, self._random)
        bounds, faults = self._tables[operation]
        if not bounds:
            return None
        index = bisect_right(bounds, self._random.random())
        return decide(faults[index], self._random) if index < len(faults) else None


def decide(fault: InjectedFault, random: Random) -> Drawn:
    """Draw the details of a fault that its plan leaves open."""
    forms = fault.trait.forms
    return Drawn(
        kind=fault.kind,
        form=fault.form or (random.choice(forms) if forms else ""),
        seconds=random.uniform(*fault.span),
        requests=random.randint(*fault.requests),
        retry_after=random.randint(*fault.retry_after),
        where=fault.where,
        noise=random.randbytes(_NOISE) if fault.kind in {"garbage", "unasked"} else b"",
    )


def _table(faults: Iterable[InjectedFault]) -> tuple[list[float], list[InjectedFault]]:
    here = list(faults)
    return list(accumulate(fault.rate for fault in here)), here

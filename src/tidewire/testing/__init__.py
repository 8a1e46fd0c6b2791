"""A broker for tests: in process, with a clock to advance and faults on demand.

`tidewire.pytest_plugin` hands one to each test; without pytest, `with BrokerThread() as broker` does.
"""

from tidewire.testing.broker import BrokerThread as BrokerThread
from tidewire.testing.clock import Clock as Clock
from tidewire.testing.faults import Fault as Fault
from tidewire.testing.faults import Faults as Faults

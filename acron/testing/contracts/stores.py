"""The duties of a ``Store``, as tests. Subclass ``StoreContract`` and give ``make_store``.

    class TestMine(StoreContract):
        async def make_store(self, room: Path) -> Store:
            return MyStore(room / "jobs")

Jobs are built by hand, so that a store needs to know nothing of schedules. The tests are
coroutines: run them under pytest-asyncio in auto mode, or any plugin that awaits tests.
"""

from __future__ import annotations

from acron.testing.contracts._stores_ends import FinishDuties
from acron.testing.contracts._stores_firing import ClaimDuties, DueDuties
from acron.testing.contracts._stores_found import DeliveryDuties, TagDuties, TroubleDuties
from acron.testing.contracts._stores_jobs import JobDuties
from acron.testing.contracts._stores_lanes import DropDuties, LaneDuties, OrderDuties
from acron.testing.contracts._stores_ledger import LedgerDuties, RecoverDuties
from acron.testing.contracts._stores_news import NewsDuties, SharingDuties

__all__ = ["StoreContract"]


class StoreContract(
    JobDuties,
    DueDuties,
    ClaimDuties,
    FinishDuties,
    LaneDuties,
    OrderDuties,
    DropDuties,
    TagDuties,
    TroubleDuties,
    DeliveryDuties,
    LedgerDuties,
    RecoverDuties,
    NewsDuties,
    SharingDuties,
):
    """All duties of ``acron.abc.Store``.

    ``shared = False`` leaves out what takes several store objects on the same data at one time,
    ``durable = False`` what takes another object on the same data later.
    """

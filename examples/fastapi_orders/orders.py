"""A shop that ships 15 minutes after the order: uvicorn --workers 4 orders:web"""

from __future__ import annotations

import os

from fastapi import FastAPI

from acron import Acron

app = Acron(os.environ.get("DATABASE_URL", "postgresql://localhost/shop"), app="shop")
web = FastAPI(lifespan=app.lifespan)


@app.job(os.environ.get("REPORT", "every day at 6am"))
async def report() -> str:
    return f"{len(await app.runs(state='succeeded', limit=1000))} runs, told by {os.getpid()}"


@app.action
async def ship(order: int) -> str:
    return f"order {order} is on its way"


@web.post("/orders/{order}", status_code=202)
async def take(order: int, when: str = "in 15m") -> dict[str, object]:
    arguments = {"order": order}  # the id makes it safe to ask twice
    job = await app.add(when, ship, id=f"order-{order}", kwargs=arguments, on_conflict="keep")
    return {"id": job.id, "ships_at": job.next_fire_at}


@web.get("/orders/{order}")
async def look(order: int) -> dict[str, object]:
    runs = await app.runs(f"order-{order}", limit=1)
    return {"state": runs[0].state if runs else "waiting", "told": runs[0].output if runs else None}


@web.get("/health")
async def health() -> dict[str, object]:
    return {"state": (status := await app.status()).state, "jobs": status.jobs}

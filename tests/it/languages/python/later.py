"""Tasks that wait for several things at once."""

import asyncio

from wasm_runner import package, remote, task, u32

package("local:later")


class Odd(Exception):
    pass


@task(raises=Odd)
async def half(n: u32) -> u32:
    if n % 2:
        raise Odd(f"{n} is odd")
    return n // 2


@remote("local:later/tasks.half", raises=Odd)
async def half_elsewhere(n: u32) -> u32: ...


@task
async def nap(ms: u32) -> u32:
    await asyncio.sleep(ms / 1000)
    return ms


@task
async def halves(count: u32) -> list[u32]:
    return await asyncio.gather(*[half.submit(2 * n) for n in range(count)])


@task
async def chains(count: u32) -> list[u32]:
    """Each step of a chain waits for the one before, and no chain for another."""

    async def chain(n):
        steps = 0
        while n > 1:
            n, steps = await half.submit(n), steps + 1
        return steps

    return await asyncio.gather(*[chain(2**k) for k in range(count)])


@task(raises=Odd)
async def grouped(a: u32, b: u32) -> u32:
    try:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(half.submit(a).wait())
            second = group.create_task(half.submit(b).wait())
    except* Odd as odd:
        raise odd.exceptions[0] from None
    return first.result() + second.result()


@task
async def in_order(naps: list[u32]) -> list[u32]:
    return [await one for one in asyncio.as_completed([nap.submit(ms) for ms in naps])]


@task
async def impatient(ms: u32) -> str:
    slow = nap.submit(ms)
    try:
        async with asyncio.timeout(0.1):
            return f"{await slow}"
    except TimeoutError:
        # It goes on until somebody cancels it.
        return f"gave up, {slow.status()}, {slow.cancel()}"


@task
async def twice(n: u32) -> list[u32]:
    """One child under two names, each awaited twice."""
    keyed = half.options(key="the only one")
    one, same = keyed.submit(n), keyed.submit(n)
    assert one.id == same.id
    return await asyncio.gather(one, same, one, same)


@task
async def both_kinds(n: u32) -> list[u32]:
    return [half.submit(n).result(), await half.submit(n), await half(n), await half_elsewhere(n)]


@task
async def stuck() -> None:
    await asyncio.get_running_loop().create_future()


@task
async def refused() -> str:
    nobody = half.submit(2)
    nobody.id = "01900000-0000-7000-8000-000000000000"
    try:
        return f"{await nobody}"
    except Exception as error:
        return str(error).split(":")[0]

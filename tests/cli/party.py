"""A process to look at: `python -m tests.cli.party URL PREFIX ROLE TOPIC SCHEMA` serves or reads one object until it is ended.

The roles: `authority` writes one object, `loading` never gets ready, `reader` and `text` hold a replica that expects a number
or a text, `mirror` holds all objects as numbers, `rogue` publishes another content of the version that is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from parasync import Envelope, Topic, authority, mirror, synced
from parasync.errors import ParseError
from parasync.protocol import Ask
from parasync.transports.nats import NatsTransport, PrefixedSubjects


async def main(url: str, prefix: str, role: str, name: str, schema: str) -> None:
    topic = Topic(name, str if role == "text" else int, version=schema)
    async with NatsTransport(url, subjects=PrefixedSubjects(prefix)) as bus:
        if role in ("authority", "loading"):
            async with authority(topic, bus, loading=role == "loading") as owner:
                await owner.put("1", 7)
                await going_on()
        elif role == "rogue":
            answer = await bus.ask(name, Ask(0, (f"{name}:1",), (None,)), 10.0)
            held = answer.outcomes[0]
            bus.publish(f"{name}:1", Envelope(8, schema, held.sequence, held.epoch))
            await bus.flush()
            await going_on()
        elif role == "mirror":
            async with mirror(topic, bus) as all_of_it:
                print(f"loads {all_of_it.topic.name}", flush=True)
                await all_of_it.ready()
                await going_on()
        else:
            async with synced(topic["1"], bus) as replica:
                if role == "reader":
                    await replica.ready()
                else:
                    with contextlib.suppress(ParseError):
                        await replica.fresh()
                await going_on()


async def going_on() -> None:
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

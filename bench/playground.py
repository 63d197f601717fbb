"""A class at play: how many pictures and updates a second each of N browser sessions gets from one server.

    python bench/playground.py                  # 30 sessions, the same network
    python bench/playground.py --unlike         # each another network: all are compiled
    python bench/playground.py --sessions 60 --seconds 20

Each session asks for 5 updates and their picture, waits until 75 ms have passed, and asks again, as the page does; its
picture is read to the end. The sessions are threads of a process of their own.
"""

import argparse
import http.client
import json
import multiprocessing
import statistics
import threading
import time
from urllib.parse import urlsplit

UPDATES, FRAME = 5, 0.075


def ask(connection, path, body):
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    raw = answer.read()
    assert answer.status == 200, raw
    return raw


def session(url, number, unlike, ready, go, seconds, out):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname, parts.port, timeout=1800
    )  # compiling for a whole class may take minutes
    widths = [8, 1 + number % 16, 1 + number // 16] if unlike else [8, 8]
    choices = {"widths": widths, "optimizer": "adam", "seed": number, "points": 300}
    began = time.perf_counter()
    seat = json.loads(ask(connection, parts.path + "begin", {"choices": choices}))["seat"]
    ask(connection, parts.path + "tick", {"seat": seat, "updates": 1})
    opened = time.perf_counter() - began
    ready.wait()
    go.wait()
    connection.close()  # the server may have closed it while the others were compiled for; it is opened anew
    frames, waits, size, end = 0, [], 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        asked = time.perf_counter()
        raw = ask(connection, parts.path + "tick", {"seat": seat, "updates": UPDATES})
        waits.append(time.perf_counter() - asked)
        frames, size = frames + 1, len(raw)
        time.sleep(max(0.0, FRAME - waits[-1]))
    out.append((opened, frames / seconds, statistics.median(waits), max(waits), size))


def clients(url, count, unlike, seconds, queue):
    ready, go, out = threading.Barrier(count + 1), threading.Event(), []
    threads = [
        threading.Thread(target=session, args=(url, i, unlike, ready, go, seconds, out), daemon=True)
        for i in range(count)
    ]
    for thread in threads:
        thread.start()
    ready.wait()
    go.set()
    for thread in threads:
        thread.join()
    queue.put(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--unlike", action="store_true")
    given = parser.parse_args()
    from pellucid.web.play import playground
    from pellucid.web.serve import bind, run

    address = bind(port=0)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    work = (address.url, given.sessions, given.unlike, given.seconds, queue)
    process = context.Process(target=clients, args=work)
    servers = []
    server = threading.Thread(target=run, args=(playground(given.sessions), address), kwargs={"ready": servers.append})
    server.start()
    began = time.process_time()
    process.start()
    found = queue.get()
    process.join()
    used = time.process_time() - began
    servers[0].should_exit = True
    server.join()
    opened, rates, middle, longest, sizes = zip(*found, strict=True)
    print(f"{given.sessions} sessions, {'unlike' if given.unlike else 'alike'}, {UPDATES} updates a picture")
    print(f"ready after     median {statistics.median(opened):.1f} s, the last {max(opened):.1f} s")
    print(f"pictures/s each median {statistics.median(rates):.1f}, least {min(rates):.1f}, most {max(rates):.1f}")
    print(f"updates/s each  median {UPDATES * statistics.median(rates):.0f}; in all {UPDATES * sum(rates):.0f}")
    print(f"answer          median {1000 * statistics.median(middle):.0f} ms, longest {1000 * max(longest):.0f} ms")
    print(f"a picture       {max(sizes) / 1000:.0f} kB; CPU of the server {used:.1f} s in all")
    import resource

    print(f"memory          {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most")


if __name__ == "__main__":
    main()

// One event stream an address, for all tabs that listen to it; what they ask of it is asked together. What came first in
// the stream is asked of the server again for a tab that joins later: the stream opens anew, and every tab begins there.

const streams = new Map(); // address -> {source, ports: Map(port -> {names, topics})}

onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = ({data}) => {
    if (data.listen) join(data.listen, port, data);
    if (data.close) leave(data.close, port);
  };
  port.start();
};

function join(address, port, {names, topics}) {
  const one = streams.get(address) || {ports: new Map(), source: null};
  streams.set(address, one);
  one.ports.set(port, {names, topics: topics || {}});
  open(address, one);
}

/** The address with what any of the tabs wants of it. */
function asked(address, ports) {
  const url = new URL(address), seen = new Set();
  for (const {topics} of ports.values())
    for (const [key, values] of Object.entries(topics))
      for (const value of values)
        if (!seen.has(`${key}=${value}`)) {
          seen.add(`${key}=${value}`);
          url.searchParams.append(key, value);
        }
  return url.href;
}

function open(address, one) {
  if (one.source) one.source.close();
  const tell = (name, data) => {
    for (const [port, {names}] of one.ports) if (name === ":state" || names.includes(name)) port.postMessage({name, data});
  };
  one.source = new EventSource(asked(address, one.ports));
  one.source.onopen = () => tell(":state", "there");
  one.source.onerror = () => {
    tell(":state", "lost");
    // a server that answers with an error is not asked again by the browser: so we do
    if (one.source.readyState === EventSource.CLOSED) setTimeout(() => one.ports.size && open(address, one), 3000);
  };
  for (const name of new Set([...one.ports.values()].flatMap((port) => port.names)))
    one.source.addEventListener(name, (e) => tell(name, JSON.parse(e.data)));
}

function leave(address, port) {
  const one = streams.get(address);
  if (!one) return;
  one.ports.delete(port);
  if (one.ports.size === 0) {
    one.source.close();
    streams.delete(address);
  }
}

// One event stream an address, for all tabs that listen to it. What came first in the stream ("begin") is asked of the
// server again for a tab that joins later: it opens the stream anew, and every tab begins from there.

const streams = new Map(); // address -> {source, ports: Map(port -> names)}

onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = ({data}) => {
    if (data.listen) join(data.listen, port, data.names);
    if (data.close) leave(data.close, port);
  };
  port.start();
};

function join(address, port, names) {
  const one = streams.get(address) || {ports: new Map(), source: null};
  streams.set(address, one);
  one.ports.set(port, names);
  open(address, one);
}

function open(address, one) {
  if (one.source) one.source.close();
  const tell = (name, data) => {
    for (const [port, names] of one.ports) if (name === ":state" || names.includes(name)) port.postMessage({name, data});
  };
  one.source = new EventSource(address);
  one.source.onopen = () => tell(":state", "there");
  one.source.onerror = () => tell(":state", "lost");
  for (const name of new Set([...one.ports.values()].flat()))
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

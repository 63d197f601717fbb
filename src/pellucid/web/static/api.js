// Talking to the server. All addresses are relative to the page, for the token is a part of its address.

export class Refused extends Error {}

async function answer(response) {
  const type = response.headers.get("content-type") || "";
  const body = type.includes("json") ? await response.json() : await response.text();
  if (!response.ok) throw Object.assign(new Refused(body.error || String(body)), {body});
  return body;
}

export const get = async (path) => answer(await fetch(path));

export const post = async (path, body = {}) =>
  answer(await fetch(path, {method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)}));

/** A file as it is, or anything else that fetch takes for a body. */
export const send = async (path, body) => answer(await fetch(path, {method: "POST", body}));

/** Listen to server-sent events: listen("events", {step: f, epoch: g}, state). `state("lost" | "there")` is told how the
 *  connection fares. Tabs of one browser share a connection by a worker, for a browser opens six at most to a server. */
export function listen(path, handlers, state = () => {}) {
  const address = new URL(path, location.href).href;
  const heard = ({name, data}) => {
    if (name === ":state") state(data);
    else if (handlers[name]) handlers[name](data);
  };
  if (typeof SharedWorker === "undefined") return direct(address, Object.keys(handlers), heard);
  const worker = new SharedWorker(new URL("static/events.worker.js", document.baseURI), {name: "pellucid events"});
  const port = worker.port;
  port.onmessage = (message) => heard(message.data);
  port.start();
  port.postMessage({listen: address, names: Object.keys(handlers)});
  const close = () => port.postMessage({close: address});
  addEventListener("pagehide", close);
  return {close};
}

function direct(address, names, heard) {
  const source = new EventSource(address);
  source.onopen = () => heard({name: ":state", data: "there"});
  source.onerror = () => heard({name: ":state", data: "lost"});
  for (const name of names) source.addEventListener(name, (e) => heard({name, data: JSON.parse(e.data)}));
  return {close: () => source.close()};
}

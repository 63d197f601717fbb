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
 *  connection fares. Tabs of one browser share a connection by a worker, for a browser opens six at most to a server.
 *  topics: what is asked of the address, such as {run: ["a", "b"]}; `want(topics)` of what comes back changes it. */
export function listen(path, handlers, state = () => {}, topics = {}) {
  const address = new URL(path, location.href).href.split("#")[0];
  const heard = ({name, data}) => {
    if (name === ":state") state(data);
    else if (handlers[name]) handlers[name](data);
  };
  if (typeof SharedWorker === "undefined") return direct(address, Object.keys(handlers), heard, topics);
  const worker = new SharedWorker(new URL("static/events.worker.js", document.baseURI), {name: "pellucid events"});
  const port = worker.port;
  port.onmessage = (message) => heard(message.data);
  port.start();
  const close = () => port.postMessage({close: address});
  const want = (more) => {
    topics = more;
    port.postMessage({listen: address, names: Object.keys(handlers), topics});
  };
  want(topics);
  addEventListener("pagehide", close);
  addEventListener("pageshow", (e) => e.persisted && want(topics)); // back from the browser's own history
  return {close, want};
}

function direct(address, names, heard, topics) {
  let source = null;
  const close = () => source?.close();
  const want = (more) => {
    close();
    const url = new URL(address);
    for (const [key, values] of Object.entries(more)) for (const v of values) url.searchParams.append(key, v);
    source = new EventSource(url.href);
    source.onopen = () => heard({name: ":state", data: "there"});
    source.onerror = () => heard({name: ":state", data: "lost"});
    for (const name of names) source.addEventListener(name, (e) => heard({name, data: JSON.parse(e.data)}));
  };
  want(topics);
  return {close, want};
}

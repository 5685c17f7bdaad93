// Shows what the producers publish, live. The broker's WebSocket listener comes from ?broker=ws://host:port/mqtt, or is taken to be
// port 8080 of the machine that serves this page.
"use strict";

const broker = new URLSearchParams(location.search).get("broker") || `ws://${location.hostname || "127.0.0.1"}:8080/mqtt`;
const producers = new Map();

function row(name) {
  let p = producers.get(name);
  if (!p) {
    const tr = document.createElement("tr");
    p = { tr, cells: [], sum: 0, n: 0 };
    for (const text of [name, "", "", ""]) {
      const td = document.createElement("td");
      td.textContent = text; // never innerHTML: names come from the network
      tr.append(td);
      p.cells.push(td);
    }
    document.getElementById("rows").append(tr);
    producers.set(name, p);
  }
  return p;
}

function state(text) {
  document.getElementById("state").textContent = text;
}

const client = mqtt.connect(broker, { protocolVersion: 5, clean: true });
client.on("connect", () => {
  state(`connected to ${broker}`);
  client.subscribe(["random_numbers/+", "status/+"], { qos: 1 });
});
client.on("close", () => state("closed, connecting again"));
client.on("error", (e) => state(String(e.message || e)));
client.on("message", (topic, payload) => {
  const [kind, name] = topic.split("/");
  const p = row(name);
  if (kind === "status") {
    p.cells[1].textContent = payload.toString();
    p.tr.className = payload.toString() === "gone" ? "gone" : "";
    return;
  }
  const number = Number(payload.toString());
  if (!Number.isFinite(number)) return;
  p.sum += number;
  p.n++;
  p.cells[2].textContent = String(number);
  p.cells[3].textContent = (p.sum / p.n).toFixed(2);
});

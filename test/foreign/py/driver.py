"""Drives Paho Python by the line protocol described in driver.go: one JSON request a line on stdin, one JSON event a
line on stdout. Any number of clients live in one process. Works with Paho 1.x and 2.x."""

import hashlib
import json
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

out_lock = threading.Lock()
clients = {}


def emit(**event):
    line = json.dumps(event)
    with out_lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def to_properties(kind, p):
    props = Properties(kind)
    p = p or {}
    if p.get("contentType"):
        props.ContentType = p["contentType"]
    if p.get("responseTopic"):
        props.ResponseTopic = p["responseTopic"]
    if p.get("correlation"):
        props.CorrelationData = bytes.fromhex(p["correlation"])
    if p.get("user"):
        props.UserProperty = [tuple(u) for u in p["user"]]
    if p.get("format"):
        props.PayloadFormatIndicator = p["format"]
    if p.get("expiry"):
        props.MessageExpiryInterval = p["expiry"]
    return props


def from_properties(props):
    out = {}
    for name, key in (("ContentType", "contentType"), ("ResponseTopic", "responseTopic"),
                      ("PayloadFormatIndicator", "format"), ("MessageExpiryInterval", "expiry")):
        if hasattr(props, name):
            out[key] = getattr(props, name)
    if hasattr(props, "CorrelationData"):
        out["correlation"] = props.CorrelationData.hex()
    if hasattr(props, "UserProperty"):
        out["user"] = [list(u) for u in props.UserProperty]
    if hasattr(props, "SubscriptionIdentifier"):
        ids = props.SubscriptionIdentifier
        out["subIDs"] = ids if isinstance(ids, list) else [ids]
    return out


def payload_of(req):
    if req.get("size"):
        return (bytes(range(251)) * (req["size"] // 251 + 1))[:req["size"]]
    return req.get("payload", "").encode()


def code_of(rc):
    return getattr(rc, "value", rc)


class Client:
    def __init__(self, name, req):
        self.name = name
        self.version = req["version"]
        self.req = req
        protocol = {3: mqtt.MQTTv31, 4: mqtt.MQTTv311, 5: mqtt.MQTTv5}[self.version]
        args = {"client_id": req["id"], "protocol": protocol, "transport": "websockets" if req.get("ws") else "tcp"}
        if self.version != 5:
            args["clean_session"] = req.get("clean", False)
        if hasattr(mqtt, "CallbackAPIVersion"):
            args["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
        c = self.c = mqtt.Client(**args)
        c.max_inflight_messages_set(max(20, req.get("window", 0)))
        c.reconnect_delay_set(min_delay=0.05, max_delay=0.05)
        c.on_connect = self.on_connect
        c.on_disconnect = self.on_disconnect
        c.on_message = self.on_message
        c.on_subscribe = self.on_subscribe
        c.on_publish = self.on_publish
        self.mids = {}      # message id -> event to emit; the ack may come before publish() returns
        self.early = set()  # acknowledged ids that nobody has claimed yet
        self.mids_lock = threading.Lock()
        will = req.get("will")
        if will:
            kw = {"properties": to_properties(PacketTypes.WILLMESSAGE, will.get("props"))} if self.version == 5 else {}
            c.will_set(will["topic"], will["payload"].encode(), will["qos"], will["retain"], **kw)

    def connect(self):
        kw = {}
        if self.version == 5:
            props = Properties(PacketTypes.CONNECT)
            if self.req.get("expiry"):
                props.SessionExpiryInterval = self.req["expiry"]
            kw = {"clean_start": self.req.get("clean", False), "properties": props}
        self.c.connect(self.req["host"], self.req["port"], self.req.get("keepalive", 60), **kw)
        self.c.loop_start()

    def on_connect(self, _c, _u, flags, rc, props=None):
        emit(ev="connected", c=self.name, sp=bool(flags["session present"]), code=code_of(rc))

    def on_disconnect(self, _c, _u, rc, props=None):
        if rc != 0 and not self.req.get("reconnect"):
            # loop_stop from the network thread is not possible: tell it to end instead.
            self.c.disconnect()
        emit(ev="lost" if rc != 0 else "disconnected", c=self.name, code=code_of(rc))

    def on_message(self, _c, _u, m):
        ev = {"ev": "message", "c": self.name, "topic": m.topic, "qos": m.qos, "retain": bool(m.retain), "size": len(m.payload)}
        if len(m.payload) <= 1000:
            ev["payload"] = m.payload.decode()
        else:
            ev["sha256"] = hashlib.sha256(m.payload).hexdigest()
        if self.version == 5:
            ev["props"] = from_properties(m.properties)
        emit(**ev)

    def on_subscribe(self, _c, _u, _mid, codes, _props=None):
        emit(ev="subscribed", c=self.name, codes=[code_of(c) for c in codes])

    def on_publish(self, _c, _u, mid):
        with self.mids_lock:
            if mid in self.mids:
                done = self.mids.pop(mid)
            else:
                self.early.add(mid)
                return
        done()

    def acked(self, mid, done):
        with self.mids_lock:
            if mid not in self.early:
                self.mids[mid] = done
                return
            self.early.remove(mid)
        done()

    def subscribe(self, req):
        if self.version == 5:
            props = Properties(PacketTypes.SUBSCRIBE)
            if req.get("subID"):
                props.SubscriptionIdentifier = req["subID"]
            rc, _ = self.c.subscribe(req["topic"], options=SubscribeOptions(qos=req["qos"]), properties=props)
        else:
            rc, _ = self.c.subscribe(req["topic"], req["qos"])
        if rc != mqtt.MQTT_ERR_SUCCESS:
            raise RuntimeError(mqtt.error_string(rc))

    def publish(self, req):
        kw = {"properties": to_properties(PacketTypes.PUBLISH, req.get("props"))} if self.version == 5 else {}
        info = self.c.publish(req["topic"], payload_of(req), req["qos"], req.get("retain", False), **kw)
        self.acked(info.mid, lambda: emit(ev="published", c=self.name, n=1))

    def start_burst(self, req):
        # The library would queue everything itself, but on a reconnection it sends all of its queue at once, above
        # its own limit and the server's receive maximum.
        window = threading.Semaphore(req["window"])

        def run():
            for i in range(req["n"]):
                window.acquire()
                info = self.c.publish(req["topic"], str(i).encode(), req["qos"])
                self.acked(info.mid, window.release)
            for _ in range(req["window"]):
                window.acquire()
            emit(ev="published", c=self.name, n=req["n"])

        threading.Thread(target=run, daemon=True).start()

    def handle(self, req):
        op = req["op"]
        if op == "subscribe":
            self.subscribe(req)
        elif op == "publish":
            self.publish(req)
        elif op == "burst":
            self.start_burst(req)
        elif op == "disconnect":
            self.c.disconnect()
        else:
            raise ValueError("unknown op " + op)


def main():
    for line in sys.stdin:
        req = json.loads(line)
        name = req["c"]
        try:
            if req["op"] == "connect":
                old = clients.get(name)
                if old is not None:
                    old.c.loop_stop()
                clients[name] = Client(name, req)
                clients[name].connect()
            else:
                clients[name].handle(req)
        except Exception as e:  # the harness fails the test with the text
            emit(ev="failed", c=name, op=req["op"], text=repr(e))


main()

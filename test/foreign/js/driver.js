// Drives mqtt.js by the line protocol described in driver.go: one JSON request a line on stdin, one JSON event a line
// on stdout. Any number of clients live in one process.
'use strict'

const crypto = require('node:crypto')
const readline = require('node:readline')
const mqtt = require('mqtt')

const clients = new Map()

function emit (event) {
  process.stdout.write(JSON.stringify(event) + '\n')
}

function toProperties (p) {
  const out = {}
  if (!p) return out
  if (p.contentType) out.contentType = p.contentType
  if (p.responseTopic) out.responseTopic = p.responseTopic
  if (p.correlation) out.correlationData = Buffer.from(p.correlation, 'hex')
  if (p.format) out.payloadFormatIndicator = true
  if (p.expiry) out.messageExpiryInterval = p.expiry
  if (p.user) {
    out.userProperties = {}
    for (const [k, v] of p.user) {
      if (k in out.userProperties) out.userProperties[k] = [].concat(out.userProperties[k], v)
      else out.userProperties[k] = v
    }
  }
  return out
}

function fromProperties (p) {
  const out = {}
  if (!p) return out
  if (p.contentType !== undefined) out.contentType = p.contentType
  if (p.responseTopic !== undefined) out.responseTopic = p.responseTopic
  if (p.correlationData !== undefined) out.correlation = p.correlationData.toString('hex')
  if (p.payloadFormatIndicator !== undefined) out.format = Number(p.payloadFormatIndicator)
  if (p.messageExpiryInterval !== undefined) out.expiry = p.messageExpiryInterval
  if (p.subscriptionIdentifier !== undefined) out.subIDs = [].concat(p.subscriptionIdentifier)
  if (p.userProperties !== undefined) {
    out.user = []
    for (const [k, v] of Object.entries(p.userProperties)) {
      for (const one of [].concat(v)) out.user.push([k, one])
    }
  }
  return out
}

function payloadOf (req) {
  if (!req.size) return Buffer.from(req.payload || '')
  const b = Buffer.alloc(req.size)
  for (let i = 0; i < req.size; i++) b[i] = i % 251
  return b
}

function connect (name, req) {
  const v5 = req.version === 5
  const options = {
    clientId: req.id,
    protocolVersion: req.version,
    protocolId: req.version === 3 ? 'MQIsdp' : 'MQTT',
    clean: Boolean(req.clean),
    keepalive: req.keepalive || 60,
    reconnectPeriod: req.reconnect ? 20 : 0,
    resubscribe: false
  }
  if (v5) options.properties = req.expiry ? { sessionExpiryInterval: req.expiry } : {}
  if (req.will) {
    options.will = { topic: req.will.topic, payload: Buffer.from(req.will.payload), qos: req.will.qos, retain: req.will.retain }
    if (v5) options.will.properties = toProperties(req.will.props)
  }
  const scheme = req.ws ? 'ws' : 'mqtt'
  const c = mqtt.connect(`${scheme}://${req.host}:${req.port}${req.ws ? '/mqtt' : ''}`, options)
  let ending = false
  let code = 0
  c.on('connect', (ack) => emit({ ev: 'connected', c: name, sp: Boolean(ack.sessionPresent), code: v5 ? ack.reasonCode : ack.returnCode }))
  c.on('disconnect', (packet) => { code = packet.reasonCode })
  c.on('close', () => {
    if (!ending) emit({ ev: 'lost', c: name, code })
    code = 0
  })
  c.on('error', (err) => {
    if (!req.reconnect) emit({ ev: 'failed', c: name, op: 'connect', text: String(err) })
  })
  c.on('message', (topic, payload, packet) => {
    const ev = { ev: 'message', c: name, topic, qos: packet.qos, retain: packet.retain, size: payload.length }
    if (payload.length <= 1000) ev.payload = payload.toString()
    else ev.sha256 = crypto.createHash('sha256').update(payload).digest('hex')
    if (v5) ev.props = fromProperties(packet.properties)
    emit(ev)
  })
  clients.set(name, {
    handle (r) {
      const failed = (err) => emit({ ev: 'failed', c: name, op: r.op, text: String(err) })
      switch (r.op) {
        case 'subscribe': {
          const o = { qos: r.qos }
          if (v5 && r.subID) o.properties = { subscriptionIdentifier: r.subID }
          c.subscribe(r.topic, o, (err, granted) => {
            if (err) failed(err)
            else emit({ ev: 'subscribed', c: name, codes: granted.map((g) => g.qos) })
          })
          break
        }
        case 'publish': {
          const o = { qos: r.qos, retain: Boolean(r.retain) }
          if (v5) o.properties = toProperties(r.props)
          c.publish(r.topic, payloadOf(r), o, (err) => {
            if (err) failed(err)
            else emit({ ev: 'published', c: name, n: 1 })
          })
          break
        }
        case 'burst': {
          // mqtt.js has no limit of its own on what is in flight.
          let next = 0
          let acked = 0
          const one = (payload) => c.publish(r.topic, payload, { qos: r.qos }, (err) => {
            // Cut again while it was repeating older messages, the library gives back those it had not sent yet. It
            // is walking its list of them: publish later.
            if (err && err.message === 'Connection closed') return setImmediate(one, payload)
            // PUBCOMP 0x92 answers a repeated PUBREL whose first one had arrived: no error during recovery [U5-3.6.2-1].
            if (err && err.code !== 0x92) return failed(err)
            if (++acked === r.n) emit({ ev: 'published', c: name, n: r.n })
            else more()
          })
          const more = () => {
            while (next < r.n && next - acked < r.window) one(String(next++))
          }
          more()
          break
        }
        case 'disconnect':
          ending = true
          c.end(false, {}, () => emit({ ev: 'disconnected', c: name, code: 0 }))
          break
        default:
          failed('unknown op')
      }
    }
  })
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const req = JSON.parse(line)
  try {
    if (req.op === 'connect') connect(req.c, req)
    else clients.get(req.c).handle(req)
  } catch (err) {
    emit({ ev: 'failed', c: req.c, op: req.op, text: String(err) })
  }
}).on('close', () => process.exit(0))

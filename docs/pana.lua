-- A dissector of PANA (RFC 5191, 5873, 6345, 6786) for Wireshark and tshark, 4.0 or newer.
--
--   tshark -X lua_script:docs/pana.lua -r FILE -Y mpana -V
--
-- or put it into Wireshark's folder of personal plugins. The filter's name is mpana, since
-- Wireshark has a dissector called pana; that one shows messages with the E bit as bare UDP.
--
-- With the keys of programs built with -tags panakeylog (docs/operating.md)
-- it also shows what is encrypted: -o mpana.keylog_file:FILE

local p = Proto("mpana", "PANA with pre-authentication")
local f, x = {}, {} -- fields, expert infos

-- numbers -----------------------------------------------------------------------

local types = {
  [1] = "PCI", [2] = "PAR or PAN", [3] = "PTR or PTA", [4] = "PNR or PNA", [5] = "PRY",
}
local names = { -- answer, request
  [1] = { "PCI", "PCI" }, [2] = { "PAN", "PAR" }, [3] = { "PTA", "PTR" }, [4] = { "PNA", "PNR" }, [5] = { "PRY", "PRY" },
}
local avps = {
  [1] = "AUTH", [2] = "EAP-Payload", [3] = "Integrity-Algorithm", [4] = "Key-Id", [5] = "Nonce", [6] = "PRF-Algorithm",
  [7] = "Result-Code", [8] = "Session-Lifetime", [9] = "Termination-Cause", [10] = "PaC-Information",
  [11] = "Relayed-Message", [12] = "Encryption-Encap", [13] = "Encryption-Algorithm",
}
local sealed = { [2] = "for the CA, sealed", [3] = "for the AR, sealed" }
local vendor_avps = { [1] = "Identities", [2] = sealed[2], [3] = sealed[3], [4] = "Reason", [5] = "Again" }
local integrity = {
  [7] = "HMAC_SHA1_160", [8] = "AES_CMAC_96", [12] = "HMAC_SHA2_256_128", [13] = "HMAC_SHA2_384_192", [14] = "HMAC_SHA2_512_256",
}
local prf = {
  [2] = "HMAC_SHA1", [4] = "AES128_XCBC", [5] = "HMAC_SHA2_256", [6] = "HMAC_SHA2_384", [7] = "HMAC_SHA2_512", [8] = "AES128_CMAC",
}
local results = { [0] = "PANA_SUCCESS", [1] = "PANA_AUTHENTICATION_REJECTED", [2] = "PANA_AUTHORIZATION_REJECTED" }
local causes = { [1] = "LOGOUT", [4] = "ADMINISTRATIVE", [8] = "SESSION_TIMEOUT" }
local encryption = { [1] = "AES128_CTR" }
local kinds = {
  [1] = "ConfigRequest", [2] = "ConfigReply", [3] = "TunnelRequest", [4] = "TunnelReply", [5] = "TunnelDelete",
  [6] = "SwitchBack", [7] = "Arrival", [8] = "Report", [9] = "LinkKeysRequest", [10] = "LinkKeysReply", [11] = "Follow",
  [12] = "Deliver", [13] = "DeliverReply", [14] = "RekeyRequest", [15] = "RekeyReply", [16] = "RekeyDue", [17] = "Entrust",
  [18] = "NeighboursRequest", [19] = "NeighboursReply", [20] = "NeighboursChanged",
}
local kind_fields = {
  [1] = "reason", [2] = "client identifier", [3] = "MAC", [4] = "address, prefix length", [5] = "router", [6] = "router's MAC",
  [7] = "DNS servers", [8] = "DHCP server", [9] = "lease: age ms, lifetime s, T1 s, T2 s", [10] = "took: DHCP ms, DAD ms",
  [11] = "inner address", [12] = "SPI", [13] = "nonce", [14] = "outer address, port", [15] = "MTU", [16] = "events",
  [17] = "lifetime of link keys, s", [18] = "access points: BSSID, suite", [19] = "options", [20] = "suites", [21] = "suite",
  [22] = "old SPI", [23] = "how", [24] = "receipts", [25] = "previous router's address, port", [26] = "plain outer address",
  [27] = "family", [28] = "wanted address", [29] = "IAID", [30] = "router advertisement", [31] = "DHCPv6 server", [32] = "preferred lifetime, s",
  [33] = "revision", [34] = "part, of how many", [35] = "lifetimes, s", [36] = "networks",
}
local flag_bits = {
  { "R", 0x8000, "Request" }, { "S", 0x4000, "Start" }, { "C", 0x2000, "Complete" }, { "A", 0x1000, "Re-authentication" },
  { "P", 0x0800, "Ping" }, { "I", 0x0400, "IP reconfiguration" }, { "E", 0x0200, "Pre-authentication" },
}

-- fields ------------------------------------------------------------------------

f.reserved = ProtoField.uint16("mpana.reserved", "Reserved", base.HEX)
f.length = ProtoField.uint16("mpana.length", "Message Length")
f.flags = ProtoField.uint16("mpana.flags", "Flags", base.HEX)
for _, b in ipairs(flag_bits) do
  f["flag" .. b[1]] = ProtoField.bool("mpana.flags." .. b[1]:lower(), b[3], 16, nil, b[2])
end
f.unassigned = ProtoField.uint16("mpana.flags.unassigned", "Unassigned", base.HEX, nil, 0x01ff)
f.type = ProtoField.uint16("mpana.type", "Message Type", base.DEC, types)
f.name = ProtoField.string("mpana.name", "Message")
f.sid = ProtoField.uint32("mpana.sid", "Session Identifier", base.HEX)
f.seq = ProtoField.uint32("mpana.seq", "Sequence Number", base.HEX)
f.avp = ProtoField.none("mpana.avp", "AVP")
f.code = ProtoField.uint16("mpana.avp.code", "Code")
f.avpflags = ProtoField.uint16("mpana.avp.flags", "Flags", base.HEX)
f.avplength = ProtoField.uint16("mpana.avp.length", "Length of the Value")
f.avpreserved = ProtoField.uint16("mpana.avp.reserved", "Reserved", base.HEX)
f.vendor = ProtoField.uint32("mpana.avp.vendor", "Vendor-Id")
f.value = ProtoField.bytes("mpana.avp.value", "Value")
f.padding = ProtoField.bytes("mpana.avp.padding", "Padding")
f.auth = ProtoField.bytes("mpana.auth", "AUTH")
f.integrity = ProtoField.uint32("mpana.integrity", "Integrity-Algorithm", base.DEC, integrity)
f.keyid = ProtoField.uint32("mpana.key_id", "Key-Id", base.HEX)
f.nonce = ProtoField.bytes("mpana.nonce", "Nonce")
f.prf = ProtoField.uint32("mpana.prf", "PRF-Algorithm", base.DEC, prf)
f.result = ProtoField.uint32("mpana.result", "Result-Code", base.DEC, results)
f.lifetime = ProtoField.uint32("mpana.lifetime", "Session-Lifetime, s")
f.cause = ProtoField.uint32("mpana.cause", "Termination-Cause", base.DEC, causes)
f.encryption = ProtoField.uint32("mpana.encryption", "Encryption-Algorithm", base.DEC, encryption)
f.pac4 = ProtoField.ipv4("mpana.pac.ip", "PaC")
f.pac6 = ProtoField.ipv6("mpana.pac.ipv6", "PaC")
f.pacport = ProtoField.uint16("mpana.pac.port", "PaC's port")
f.encap = ProtoField.bytes("mpana.encap", "Encryption-Encap")
f.ca = ProtoField.string("mpana.identity.ca", "Configuration agent")
f.ar = ProtoField.string("mpana.identity.ar", "Access router")
f.reason = ProtoField.string("mpana.reason", "Reason (nobody has signed it)")
f.direction = ProtoField.uint32("mpana.sealed.direction", "Direction", base.DEC, { [1] = "to router", [2] = "to node" })
f.counter = ProtoField.uint64("mpana.sealed.counter", "Counter")
f.ciphertext = ProtoField.bytes("mpana.sealed.ciphertext", "Ciphertext")
f.tag = ProtoField.bytes("mpana.sealed.tag", "Tag")
f.kind = ProtoField.uint8("mpana.message.kind", "Kind", base.DEC, kinds)
f.handover = ProtoField.bytes("mpana.message.handover", "Handover")
f.field = ProtoField.bytes("mpana.message.field", "Field")
p.fields = f

local function expert_info(key, text, group, severity)
  x[key] = ProtoExpert.new("mpana.expert." .. key, text, group, severity)
end
expert_info("malformed", "malformed", expert.group.MALFORMED, expert.severity.ERROR)
expert_info("invalid", "RFC 5191 section 5.5: to be discarded", expert.group.PROTOCOL, expert.severity.WARN)
expert_info("nokey", "encrypted, and no key of the key file opens it", expert.group.UNDECODED, expert.severity.NOTE)
p.experts = x

p.prefs.port = Pref.uint("UDP port", 716, "RFC 5191 section 6.1 assigns 716")
p.prefs.vendor = Pref.uint("Vendor-Id", 32473, "whose vendor AVPs are openmpa's")
p.prefs.keylog_file = Pref.string("Key file", "", "what a program built with -tags panakeylog has written")

-- AES in counter mode -------------------------------------------------------------
-- Lua 5.2 has no operators on bits and 5.4 no library for them: tables serve both.

local nibble = {}
for a = 0, 15 do
  nibble[a] = {}
  for b = 0, 15 do
    local v, bit, s, t = 0, 1, a, b
    for _ = 1, 4 do
      if s % 2 ~= t % 2 then v = v + bit end
      bit, s, t = bit * 2, (s - s % 2) / 2, (t - t % 2) / 2
    end
    nibble[a][b] = v
  end
end
local function xor(a, b)
  local al, bl = a % 16, b % 16
  return nibble[(a - al) / 16][(b - bl) / 16] * 16 + nibble[al][bl]
end
local function double(a) -- by x in GF(2^8)
  local d = a * 2
  if d >= 256 then return xor(d - 256, 0x1b) end
  return d
end

local sbox = {} -- inverse in GF(2^8) by logarithms to base 3, then the affine map
do
  local exp, log, a = {}, {}, 1
  for i = 0, 254 do
    exp[i], log[a] = a, i
    a = xor(a, double(a))
  end
  for i = 0, 255 do
    local inv = 0
    if i == 1 then inv = 1 elseif i > 1 then inv = exp[255 - log[i]] end
    local s, r = inv, inv
    for _ = 1, 4 do
      r = r * 2 % 256 + (r >= 128 and 1 or 0)
      s = xor(s, r)
    end
    sbox[i] = xor(s, 0x63)
  end
end

local function expand(key) -- FIPS 197 section 5.2; octets from 1
  local w, nk, rcon = {}, #key / 4, 1
  for i = 1, #key do w[i] = key:byte(i) end
  local rounds = nk + 6
  for i = nk, 4 * (rounds + 1) - 1 do
    local t = { w[4 * i - 3], w[4 * i - 2], w[4 * i - 1], w[4 * i] }
    if i % nk == 0 then
      t = { xor(sbox[t[2]], rcon), sbox[t[3]], sbox[t[4]], sbox[t[1]] }
      rcon = double(rcon)
    elseif nk > 6 and i % nk == 4 then
      t = { sbox[t[1]], sbox[t[2]], sbox[t[3]], sbox[t[4]] }
    end
    for j = 1, 4 do w[4 * i + j] = xor(w[4 * (i - nk) + j], t[j]) end
  end
  return w, rounds
end

local function encrypt(w, rounds, block) -- block: 16 octets
  local s = {}
  for i = 1, 16 do s[i] = xor(block:byte(i), w[i]) end
  for round = 1, rounds do
    local t = {}
    for i = 0, 15 do t[i + 1] = sbox[s[(i + 4 * (i % 4)) % 16 + 1]] end -- ShiftRows
    if round < rounds then
      for c = 1, 13, 4 do
        local a, b, d, e = t[c], t[c + 1], t[c + 2], t[c + 3]
        local all = xor(xor(a, b), xor(d, e))
        t[c] = xor(a, xor(all, double(xor(a, b))))
        t[c + 1] = xor(b, xor(all, double(xor(b, d))))
        t[c + 2] = xor(d, xor(all, double(xor(d, e))))
        t[c + 3] = xor(e, xor(all, double(xor(e, a))))
      end
    end
    for i = 1, 16 do s[i] = xor(t[i], w[16 * round + i]) end
  end
  return s
end

-- ctr decrypts data. The last width octets of a counter block count from first.
local function ctr(key, prefix, width, first, data)
  local w, rounds = expand(key)
  local out, n = {}, first
  for at = 1, #data, 16 do
    local tail, v = "", n
    for _ = 1, width do
      tail = string.char(v % 256) .. tail
      v = (v - v % 256) / 256
    end
    local stream = encrypt(w, rounds, prefix .. tail)
    for i = at, math.min(at + 15, #data) do
      out[#out + 1] = string.char(xor(data:byte(i), stream[i - at + 1]))
    end
    n = n + 1
  end
  return table.concat(out)
end

-- keys ----------------------------------------------------------------------------

local keyring, loaded = {}, nil -- by label and session: list of { keyid, key }

local function unhex(s)
  return (s:gsub("%x%x", function(h) return string.char(tonumber(h, 16)) end))
end

-- load_keys reads the file again whenever a capture is opened.
local function load_keys()
  keyring, loaded = {}, p.prefs.keylog_file
  if loaded == "" then return end
  local file = io.open(loaded, "r")
  if not file then return end
  for line in file:lines() do
    local label, sid, keyid, key = line:match("^(%u[%u_]*) (%x+) (%x+) (%x+)%s*$")
    if key and #sid == 8 and #keyid == 8 and (#key == 32 or #key == 64) then
      local slot = label .. tonumber(sid, 16)
      keyring[slot] = keyring[slot] or {}
      table.insert(keyring[slot], 1, { unhex(keyid), unhex(key) })
    end
  end
  file:close()
end

function p.init()
  load_keys()
end

local function candidates(label, sid)
  if loaded ~= p.prefs.keylog_file then load_keys() end
  return keyring[label .. sid] or {}
end

-- AVPs ----------------------------------------------------------------------------

local dissect_message, dissect_avps

local function u16(s, i) return s:byte(i) * 256 + s:byte(i + 1) end

-- holds_avps tells whether s is a list of AVPs: the sign that the key was right.
local function holds_avps(s)
  local i = 1
  while i <= #s do
    if i + 7 > #s then return false end
    local head = u16(s, i + 2) >= 0x8000 and 12 or 8
    if u16(s, i + 2) % 0x8000 ~= 0 then return false end
    local n = u16(s, i + 4)
    i = i + head + n + (4 - n % 4) % 4
  end
  return i == #s + 1 and #s > 0
end

-- holds_message does the same for a message of openmpa.
local function holds_message(s)
  if #s < 17 or not kinds[s:byte(1)] then return false end
  local i = 18
  while i <= #s do
    if i + 2 > #s then return false end
    i = i + 3 + u16(s, i + 1)
  end
  return i == #s + 1
end

local function opened(plain, title)
  return ByteArray.new(plain, true):tvb(title)
end

local function dissect_encap(buf, pinfo, tree, m)
  tree:add(f.encap, buf)
  local data = buf:raw()
  -- RFC 6786 section 5: 0x02 | Key-Id | SID | sequence number | counter of 3 octets
  local tail = m.header:raw(8, 8)
  for _, label in ipairs({ "PANA_PAC_ENCR_KEY", "PANA_PAA_ENCR_KEY" }) do
    for _, k in ipairs(candidates(label, m.sid)) do
      if #k[2] == 16 then
        local plain = ctr(k[2], "\2" .. k[1] .. tail, 3, 1, data)
        if holds_avps(plain) then
          dissect_avps(opened(plain, "Decrypted AVPs")(), pinfo, tree, m, true)
          return
        end
      end
    end
  end
  tree:add_proto_expert_info(x.nokey)
end

local function dissect_fields(tvb, tree)
  tree:add(f.kind, tvb(0, 1))
  tree:add(f.handover, tvb(1, 16))
  local i = 17
  while i < tvb:len() do
    local t, n = tvb(i, 1):uint(), tvb(i + 1, 2):uint()
    local item = tree:add(f.field, n > 0 and tvb(i + 3, n) or tvb(i, 3))
    item:set_text((kind_fields[t] or ("field " .. t)) .. ": " .. (n > 0 and tostring(tvb(i + 3, n):bytes()) or "empty"))
    if t == 1 and n > 0 then item:append_text(" (" .. tvb(i + 3, n):string() .. ")") end
    i = i + 3 + n
  end
end

local function dissect_sealed(buf, tree, m, code)
  if buf:len() < 28 then
    tree:add_proto_expert_info(x.malformed, "a sealed message has at least 28 octets")
    return
  end
  tree:add(f.direction, buf(0, 4))
  tree:add(f.counter, buf(4, 8))
  local n = buf:len() - 28
  if n > 0 then tree:add(f.ciphertext, buf(12, n)) end
  tree:add(f.tag, buf(12 + n, 16))
  local way = ({ "_TO_ROUTER", "_TO_NODE" })[buf(0, 4):uint()]
  if way and n > 0 then
    for _, k in ipairs(candidates((code == 2 and "MN_CA" or "MN_AR") .. way, m.sid)) do
      -- AES-GCM encrypts by counter mode from 2 on, with the nonce before it.
      local plain = ctr(k[2], buf(0, 12):raw(), 4, 2, buf(12, n):raw())
      if holds_message(plain) then
        m.note = m.note .. " " .. kinds[plain:byte(1)]
        dissect_fields(opened(plain, "Opened message"), tree)
        return
      end
    end
  end
  tree:add_proto_expert_info(x.nokey)
end

local function dissect_identities(buf, tree)
  local at = 0
  for _, field in ipairs({ f.ca, f.ar }) do
    local n = at < buf:len() and buf(at, 1):uint() or 0
    if n == 0 or at + 1 + n > buf:len() then
      tree:add_proto_expert_info(x.malformed, "a name is cut short")
      return
    end
    tree:add(field, buf(at + 1, n))
    at = at + 1 + n
  end
end

local numbers = {
  [3] = { f.integrity, integrity }, [4] = { f.keyid }, [6] = { f.prf, prf }, [7] = { f.result, results },
  [8] = { f.lifetime }, [9] = { f.cause, causes }, [13] = { f.encryption, encryption },
}

local function dissect_value(code, vendor, buf, pinfo, item, m)
  if vendor then
    if vendor ~= p.prefs.vendor or not vendor_avps[code] then
      item:add(f.value, buf)
    elseif code == 1 then
      dissect_identities(buf, item)
    elseif code == 4 then
      item:add(f.reason, buf)
      item:append_text(": " .. buf:string())
    else
      dissect_sealed(buf, item, m, code)
    end
  elseif numbers[code] then
    if buf:len() ~= 4 then
      item:add_proto_expert_info(x.invalid, "4 octets are expected")
      return
    end
    local v, field, text = buf:uint(), numbers[code][1], numbers[code][2]
    item:add(field, buf)
    if code == 4 then
      item:append_text(string.format(": %08x", v))
    else
      item:append_text(": " .. (text and text[v] or v))
    end
    if code == 7 then m.note = m.note .. " " .. (results[v] or ("result " .. v)) end
    if code == 9 then m.note = m.note .. " " .. (causes[v] or ("cause " .. v)) end
  elseif code == 1 then
    item:add(f.auth, buf)
  elseif code == 2 then
    local ok = pcall(Dissector.call, Dissector.get("eap"), buf:tvb(), pinfo, item)
    if not ok then item:add_proto_expert_info(x.malformed, "no EAP packet") end
    if buf:len() < 4 then item:add_proto_expert_info(x.invalid, "an EAP packet has at least 4 octets") end
  elseif code == 5 then
    item:add(f.nonce, buf)
    if buf:len() < 8 or buf:len() > 256 then item:add_proto_expert_info(x.invalid, "a nonce has 8 to 256 octets") end
  elseif code == 10 then
    local n = buf:len() -- some count the padding
    if n == 6 or n == 8 then
      item:add(f.pac4, buf(0, 4))
      item:add(f.pacport, buf(4, 2))
    elseif n == 18 or n == 20 then
      item:add(f.pac6, buf(0, 16))
      item:add(f.pacport, buf(16, 2))
    else
      item:add_proto_expert_info(x.invalid, "6 or 18 octets are expected")
    end
  elseif code == 11 then
    if m.inner then
      item:add_proto_expert_info(x.invalid, "a relayed message in a relayed message")
    else
      dissect_message(buf, pinfo, item, m)
    end
  elseif code == 12 and not m.encrypted then
    m.encrypted = true
    dissect_encap(buf, pinfo, item, m)
  else
    item:add(f.value, buf)
  end
end

dissect_avps = function(buf, pinfo, tree, m, inside)
  local at = 0
  while at < buf:len() do
    local left = buf:len() - at
    local head = left >= 8 and (buf(at + 2, 2):uint() >= 0x8000 and 12 or 8) or 9
    local len = left >= 8 and buf(at + 4, 2):uint() or 0
    if head > left or head + len > left then
      tree:add_proto_expert_info(x.malformed, "an AVP overruns the message")
      return
    end
    local whole = math.min(head + len + (4 - len % 4) % 4, left)
    local code = buf(at, 2):uint()
    local vendor = head == 12 and buf(at + 8, 4):uint() or nil
    local item = tree:add(f.avp, buf(at, whole))
    local name = avps[code]
    if vendor then name = vendor == p.prefs.vendor and vendor_avps[code] or ("vendor " .. vendor .. ", code " .. code) end
    item:set_text(name or ("AVP " .. code))
    item:add(f.code, buf(at, 2))
    item:add(f.avpflags, buf(at + 2, 2))
    item:add(f.avplength, buf(at + 4, 2))
    if buf(at + 6, 2):uint() ~= 0 then item:add(f.avpreserved, buf(at + 6, 2)) end
    if vendor then item:add(f.vendor, buf(at + 8, 4)) end
    if len > 0 then
      dissect_value(code, vendor, buf(at + head, len), pinfo, item, m)
    elseif not vendor and code <= 13 then
      item:add_proto_expert_info(x.invalid, "the value is empty")
    end
    if whole > head + len then item:add(f.padding, buf(at + head + len, whole - head - len)) end
    if not vendor and not inside then
      if code == 9 and at > 0 then item:add_proto_expert_info(x.invalid, "Termination-Cause is to be the first") end
      if code == 1 and at + whole < buf:len() then item:add_proto_expert_info(x.invalid, "AUTH is to be the last") end
    end
    at = at + whole
  end
end

-- messages --------------------------------------------------------------------------

local function check_header(m, tree)
  local function invalid(bad, text)
    if bad then tree:add_proto_expert_info(x.invalid, text) end
  end
  invalid(not names[m.type], "unknown message type")
  invalid(m.S and m.C, "S and C exclude one another")
  invalid(m.type == 4 and m.A == m.P, "exactly one of A and P is set in a notification")
  invalid((m.type == 1 or m.type == 5) and m.R, "this type is no request")
  invalid((m.type == 1 or m.type == 5) and (m.sid ~= 0 or m.seq ~= 0), "session identifier and sequence number are to be zero")
end

dissect_message = function(buf, pinfo, tree, outer)
  if buf:len() < 16 or buf(2, 2):uint() < 16 or buf(2, 2):uint() > buf:len() then
    tree:add_proto_expert_info(x.malformed, "Message Length and the datagram's differ")
    return nil
  end
  local m = { note = "", inner = outer ~= nil, header = buf(0, 16) }
  local flags = buf(4, 2):uint()
  local letters = ""
  for _, b in ipairs(flag_bits) do
    m[b[1]] = flags % (2 * b[2]) >= b[2]
    if m[b[1]] and b[1] ~= "R" then letters = letters .. b[1] end
  end
  m.type, m.sid, m.seq = buf(6, 2):uint(), buf(8, 4):uint(), buf(12, 4):uint()
  m.name = (names[m.type] or { "type " .. m.type, "type " .. m.type })[m.R and 2 or 1] .. "[" .. letters .. "]"

  local len = buf(2, 2):uint()
  local top = tree:add(p, buf(0, len), "PANA, " .. m.name)
  top:add(f.name, buf(4, 4), m.name):set_generated()
  if buf(0, 2):uint() ~= 0 then top:add(f.reserved, buf(0, 2)) end
  top:add(f.length, buf(2, 2))
  local ft = top:add(f.flags, buf(4, 2))
  for _, b in ipairs(flag_bits) do ft:add(f["flag" .. b[1]], buf(4, 2)) end
  if flags % 0x200 ~= 0 then ft:add(f.unassigned, buf(4, 2)) end
  top:add(f.type, buf(6, 2))
  top:add(f.sid, buf(8, 4))
  top:add(f.seq, buf(12, 4))
  check_header(m, top)
  if len > 16 then dissect_avps(buf(16, len - 16), pinfo, top, m) end
  m.text = string.format("%s sid=%08x seq=%08x%s", m.name, m.sid, m.seq, m.note)
  if outer then outer.note = outer.note .. " (" .. m.text .. ")" end
  return m
end

function p.dissector(buf, pinfo, tree)
  if buf:len() < 16 or not names[buf(6, 2):uint()] then return 0 end
  local m = dissect_message(buf(), pinfo, tree)
  pinfo.cols.protocol = "PANA" -- EAP has put in its own
  if m then
    pinfo.cols.info = m.text
  else
    pinfo.cols.info = "malformed PANA message"
  end
  return buf:len()
end

local ports, port = DissectorTable.get("udp.port"), nil
local function listen()
  if port == p.prefs.port then return end
  if port then ports:remove(port, p) end
  port = p.prefs.port
  ports:add(port, p)
end
p.prefs_changed = listen
listen()

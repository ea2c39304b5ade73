-- An API key becomes a short-lived token: the tenant service is asked once, its answer is kept for seconds.
--
-- A script's globals live per worker thread, so the tables below need no lock. Two generations bound them: when the young
-- one is full it becomes the old one, and what was not used meanwhile is forgotten.

local EXCHANGE = "/rapport.tenant.v1.TokenService/ExchangeApiKey"
local CAPACITY = 4096
local KEPT_MS = 30000
-- A shop that is resumed is served again within a second: a refusal is remembered for less.
local REFUSED_MS = 500
local SPARE_MS = 5000
local TIMEOUT_MS = 2000
-- How many keys of one client may be wrong at once, and how many more each second.
local WRONG_KEYS = 60
local WRONG_KEYS_A_SECOND = 1
local LONGEST_KEY = 256

-- grpc-status codes that say something about the key; all others say something about the tenant service.
local REFUSALS = { ["3"] = true, ["5"] = true, ["7"] = true, ["16"] = true }

-- A table of two generations; returns how to look something up in it and how to keep something.
local function memory()
  local young, old, size = {}, {}, 0
  local function remember(name, entry)
    if size >= CAPACITY then
      old, young, size = young, {}, 0
    end
    young[name] = entry
    size = size + 1
  end
  local function recall(name)
    local entry = young[name]
    if not entry then
      entry = old[name]
      if entry then remember(name, entry) end
    end
    return entry
  end
  return recall, remember
end

local recall, remember = memory()
local recall_client, remember_client = memory()

-- The network that a client comes from: its address, of IPv6 the first half, which one household has.
local function client_of(handle)
  local address = handle:streamInfo():downstreamRemoteAddress()
  return address:match("^%[(%x*:%x*:%x*:%x*)") or address:match("^%[([^%]]*)") or address:match("^[^:]*")
end

-- What is left to a client of its wrong keys, as of now.
local function trials(client, now)
  local kept = recall_client(client)
  if not kept then
    kept = { left = WRONG_KEYS, at = now }
    remember_client(client, kept)
  end
  kept.left = math.min(WRONG_KEYS, kept.left + (now - kept.at) / 1000 * WRONG_KEYS_A_SECOND)
  kept.at = now
  return kept
end

-- A gRPC message: no compression, four bytes of length, then ExchangeApiKeyRequest{api_key = 1}.
local function framed(key)
  local length = #key
  local field = length < 128 and string.char(10, length)
    or string.char(10, length % 128 + 128, math.floor(length / 128))
  local total = #field + length
  return string.char(0, 0, 0, math.floor(total / 256), total % 256) .. field .. key
end

local function varint(text, at)
  local value, scale = 0, 1
  while true do
    local byte = text:byte(at)
    if not byte then return nil, at end
    value, scale, at = value + byte % 128 * scale, scale * 128, at + 1
    if byte < 128 then return value, at end
  end
end

-- The value of one field of a protobuf message: a number or a string, nil when it is absent or the message is broken.
local function field(text, wanted, at)
  while at <= #text do
    local tag, value
    tag, at = varint(text, at)
    if not tag then return nil end
    if tag % 8 == 0 then
      value, at = varint(text, at)
    elseif tag % 8 == 2 then
      local length
      length, at = varint(text, at)
      if not length then return nil end
      value, at = text:sub(at, at + length - 1), at + length
    else
      return nil
    end
    if math.floor(tag / 8) == wanted then return value end
  end
end

-- Asks the tenant service once. Returns an entry for the table, or nil when the service could not answer.
local function exchange(handle, key, now)
  local headers, body = handle:httpCall("tenant", {
    [":method"] = "POST",
    [":path"] = EXCHANGE,
    [":authority"] = "tenant",
    ["content-type"] = "application/grpc",
    ["te"] = "trailers",
    ["grpc-timeout"] = TIMEOUT_MS .. "m",
    ["x-request-id"] = handle:headers():get("x-request-id"),
  }, framed(key), TIMEOUT_MS)
  if headers[":status"] ~= "200" then return nil end
  local status = headers["grpc-status"]
  if status and status ~= "0" then
    return REFUSALS[status] and { ends = now + REFUSED_MS } or nil
  end
  -- AccessToken{token = 1, expire_time = 2}; the frame's five bytes come first.
  local token = body and field(body, 1, 6)
  local expires = token and field(body, 2, 6)
  local seconds = expires and field(expires, 1, 1)
  if not seconds then return nil end
  return { authorization = "Bearer " .. token, ends = math.min(now + KEPT_MS, seconds * 1000 - SPARE_MS) }
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local key = headers:get("x-api-key")
  if not key then return end
  -- Whatever happens below, the key goes no further and no other credential stands beside it.
  headers:remove("x-api-key")
  headers:remove("authorization")
  if #key > LONGEST_KEY or not key:find("^rp[kb]_[%w_%-]+$") then return end
  local now = tonumber(handle:timestamp())
  local entry = recall(key)
  if not entry or entry.ends <= now then
    -- Who tries one key after the other is slowed down. A key that is known goes on to be asked for: neighbours of one
    -- who guesses, behind the same address, are not locked out, and one forgotten old key costs its neighbours nothing.
    -- A key is known from its first request on, which pays before the answer is there: many at once pay as many do.
    local paid
    if not entry then
      paid = trials(client_of(handle), now)
      if paid.left < 1 then
        handle:respond({ [":status"] = "429", ["retry-after"] = tostring(math.ceil(1 / WRONG_KEYS_A_SECOND)) }, "")
        return
      end
      paid.left = paid.left - 1
      remember(key, { ends = 0 })
    end
    -- A second try reaches another process when the first one had just gone.
    entry = exchange(handle, key, now) or exchange(handle, key, now)
    if not entry then
      handle:respond({ [":status"] = "503", ["retry-after"] = "1" }, "")
      return
    end
    remember(key, entry)
    if paid and entry.authorization then paid.left = math.min(WRONG_KEYS, paid.left + 1) end
  end
  -- The headers taken before a call of the tenant service are no longer valid after it.
  -- Not under "authorization": that name is spelt out anew in each request to a service, this one by a number (HPACK).
  if entry.authorization then handle:headers():replace("x-rapport-token", entry.authorization) end
end

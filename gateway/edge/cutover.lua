-- Which side answers a request of a shop that moves from the predecessor: it is decided when its token has been judged.
--
-- The place of a shop is the share beyond which all of it is Rapport's. With clients as the unit each client address has
-- a place of its own within its shop: the same for all its requests, and nothing is remembered for that.

local SHARE, BY_CLIENT = --@SHARE@--, --@BY_CLIENT@--
local PLACES = {--@PLACES@--}
-- The predecessor asks for no scopes, and our key opens everything of it: what it answers is only for credentials that
-- may do all that the frontend does.
local READS = { "tickets.read", "customers.read", "recommendations.read" }
local WRITES = { "tickets.write", "recommendations.write" }

-- The address of a client, without its port.
local function address_of(handle)
  local address = handle:streamInfo():downstreamRemoteAddress()
  return address:match("^%[([^%]]*)") or address:match("^[^:]*")
end

local function place_of(text)
  local sum = 7
  for at = 1, #text do sum = (sum * 31 + text:byte(at)) % 4294967291 end
  return sum % 100
end

local function holds(scope, wanted)
  for _, one in ipairs(wanted) do
    if not scope:find(" " .. one .. " ", 1, true) then return false end
  end
  return true
end

-- Whether a credential may do all that the frontend does with this method.
local function may(payload, method)
  local scope = " " .. tostring(payload["scope"] or "") .. " "
  return holds(scope, READS) and (method == "GET" or method == "HEAD" or holds(scope, WRITES))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get(":path"):sub(1, 5) ~= "/api/" then return end
  local judged = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.jwt_authn")
  local payload = judged and judged["payload"]
  local tenant = payload and payload["tid"]
  local place = tenant and PLACES[tenant]
  -- An operator who asks in a shop's name asks Rapport, for example to compare both sides.
  if not place or tostring(payload["sub"]):sub(1, 9) == "operator:" then return end
  if not may(payload, headers:get(":method")) then return end
  if BY_CLIENT then place = place_of(tenant .. " " .. address_of(handle)) end
  if place < SHARE then
    headers:replace("x-rapport-side", "rapport")
  else
    headers:replace("x-rapport-side", "predecessor")
    handle:clearRouteCache()
  end
end

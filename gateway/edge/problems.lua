-- A service's refusal becomes problem+json: the document that the service made, or the gateway's own for the status.

local PROBLEMS = {--@PROBLEMS@--}

local ALPHABET = {}
for at = 1, 64 do
  ALPHABET[("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):byte(at)] = at - 1
end

local function decoded(text)
  local out, bits, count = {}, 0, 0
  for at = 1, #text do
    local value = ALPHABET[text:byte(at)]
    if value then
      bits, count = bits * 64 + value, count + 6
      if count >= 8 then
        count = count - 8
        local scale = 2 ^ count
        out[#out + 1] = string.char(math.floor(bits / scale))
        bits = bits % scale
      end
    end
  end
  return table.concat(out)
end

-- What is asked for by HTTPS leads nowhere else: a Location by HTTP, which a service that does not know by which scheme
-- it was asked may make, becomes one by HTTPS.
local function secured(place)
  if not place:lower():find("^%s*http:") then return end
  local rest = place:gsub("^%s*[hH][tT][tT][pP]:", "")
  return "https:" .. rest:gsub("^(//[^/?#]*):80$", "%1"):gsub("^(//[^/?#]*):80([/?#])", "%1%2")
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local place = headers:get("location")
  local better = place and secured(place)
  if better then headers:replace("location", better) end
  local grpc = headers:get("grpc-status")
  if not grpc or grpc == "0" then return end
  -- A refusal over gRPC keeps the status 200; over REST the transcoder has changed it.
  if headers:get(":status") == "200" then return end
  local problem = headers:get("problem-bin")
  local document
  if problem then
    document = decoded(problem)
    -- The service knows best which status its refusal has in HTTP; the transcoder knows only the code of gRPC.
    local status = document:match('"status":%s*([345]%d%d)')
    if status then headers:replace(":status", status) end
    -- "What you have is still right" comes without a body.
    if status == "304" then
      headers:remove("content-type")
      headers:remove("content-length")
      handle:body(true):setBytes("")
      return
    end
  else
    document = PROBLEMS[headers:get(":status")] or PROBLEMS["500"]
  end
  local passing = { ["503"] = true, ["504"] = true }
  if passing[headers:get(":status")] then headers:replace("retry-after", "1") end
  -- A refusal of the token endpoint has the form of OAuth 2.0, which is plain JSON.
  local oauth = document:find('{"error":', 1, true) == 1
  headers:replace("content-type", oauth and "application/json" or "application/problem+json")
  headers:replace("content-length", tostring(#document))
  handle:body(true):setBytes(document)
end

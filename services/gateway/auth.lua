-- Who calls, and whether the tenant may call now: one round trip for every request.
-- ARGV: digest of a key or '', else the tenant; default rate and burst; seconds since the epoch
-- Reply: {record of the key or '', overrides of the tenant's limits, taken, tokens left as text}
local digest, tenant, now_s = ARGV[1], ARGV[2], tonumber(ARGV[5])
local record = ''
if digest ~= '' then
  local owner = redis.call('GET', 'gw:keyof:' .. digest)
  if not owner then return {'', {}, 0, '0'} end
  local id
  tenant, id = owner:match('^([^/]+)/(.+)$')
  record = redis.call('GET', 'gw:' .. tenant .. ':key:' .. id) or ''
  if record == '' then return {'', {}, 0, '0'} end
  local used = 'gw:' .. tenant .. ':key_used'
  if now_s - tonumber(redis.call('HGET', used, id) or 0) >= 60 then
    redis.call('HSET', used, id, now_s)
  end
end
local overrides = redis.call('HGETALL', 'gw:' .. tenant .. ':limits')
local rate, burst = tonumber(ARGV[3]), tonumber(ARGV[4])
for at = 1, #overrides, 2 do
  if overrides[at] == 'rate_per_s' then rate = tonumber(overrides[at + 1]) end
  if overrides[at] == 'rate_burst' then burst = tonumber(overrides[at + 1]) end
end
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local bucket = 'gw:' .. tenant .. ':rate'
local kept = redis.call('HMGET', bucket, 'tokens', 'at')
local since = now - (tonumber(kept[2]) or now)
local tokens = math.min(burst, (tonumber(kept[1]) or burst) + rate * since)
local taken = 0
if tokens >= 1 then tokens, taken = tokens - 1, 1 end
redis.call('HSET', bucket, 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('EXPIRE', bucket, math.ceil(burst / rate) + 1)
return {record, overrides, taken, tostring(tokens)}

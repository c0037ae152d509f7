-- A bucket of ARGV[2] tokens that fills by ARGV[1] a second. Reply: {taken, tokens left as text}
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local since = now - (tonumber(kept[2]) or now)
local tokens = math.min(burst, (tonumber(kept[1]) or burst) + rate * since)
local taken = 0
if tokens >= 1 then tokens, taken = tokens - 1, 1 end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], math.ceil(burst / rate) + 1)
return {taken, tostring(tokens)}

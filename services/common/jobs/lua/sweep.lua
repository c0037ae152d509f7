-- ARGV: delay_ms, retry_ms. Reply: a finished job whose artifacts are to be swept, or false.
-- It stays listed until swept.lua takes it off: a sweeper may die too.
local id = redis.call('ZRANGEBYSCORE', P .. 'sweep', '-inf', now - ARGV[1], 'LIMIT', 0, 1)[1]
if not id then return false end
redis.call('ZADD', P .. 'sweep', now - ARGV[1] + ARGV[2], id)
return view(id)

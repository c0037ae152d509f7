-- What is due and shall be looked at now. KEYS: due
-- ARGV: now_ms, until_ms, how many, how many members to go through, when those that wait for others
-- of their tenant are looked at again (ms), how many of one tenant; then, in turn, tenants and how
-- many each has under way.
local count, most = tonumber(ARGV[3]), tonumber(ARGV[6])
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[4])
local taken, passed, has = {}, {}, {}
for at = 7, #ARGV, 2 do has[ARGV[at]] = tonumber(ARGV[at + 1]) end
for _, member in ipairs(found) do
  if #taken == count then break end
  local tenant = member:match('/([^/]+)/')
  local number = has[tenant] or 0
  if number < most then
    has[tenant] = number + 1
    taken[#taken + 1] = member
    redis.call('ZADD', KEYS[1], ARGV[2], member)
  else
    passed[#passed + 1] = member
  end
end
if #taken < count and #found == tonumber(ARGV[4]) then  -- others' may stand behind so many
  for _, member in ipairs(passed) do redis.call('ZADD', KEYS[1], ARGV[5], member) end
end
return taken

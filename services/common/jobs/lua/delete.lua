-- ARGV: id. Reply: 'deleted' | 'missing' | the state of a job that has not ended.
local id = ARGV[1]
local state = get(id, 'state')
if not state then return 'missing' end
if not TERMINAL[state] then return state end
forget(id)
return 'deleted'

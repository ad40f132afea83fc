-- what opens the look-up keys is the master key, unless a rotation says otherwise
select settings.lookup_keys, master_key_rotation.from_key, master_key_rotation.to_key, master_key_rotation.stage
from settings
left join master_key_rotation on true

-- Credentials in their newest state by their ids, or what is left of them, in the order asked for, each beside the cursor of the one
-- snapshot.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    c.position, c.id, c.type, c.issuer, i.name, c.subject_id, c.digest, c.valid_from, c.valid_until, c.issued_at, c.issued_by,
    c.state, c.status_changed_at,
    x.position, x.id, x.issuer, y.name, x.subject_id, x.digest
from cursors k
cross join unnest($1::uuid[]) with ordinality as wanted (id, place)
left join credentials_{generation} c on c.id = wanted.id
left join issuers_{generation} i on i.id = c.issuer
left join erased_credentials_{generation} x on x.id = wanted.id
left join issuers_{generation} y on y.id = x.issuer
where k.projection = 'verification' and k.generation = {generation} and k.serving
order by wanted.place;

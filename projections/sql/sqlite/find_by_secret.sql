-- The newest credential with this secret's digest (a secret has no subject) at the issuer named ?5, or with the id ?6, beside the
-- cursor of the same snapshot.
-- ?1 digest, ?2 whether the newest state is wanted, ?3 and ?4 the time and position asked for.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    c.position, c.id, c.type, c.issuer, i.name, c.subject_id, c.digest, c.valid_from, c.valid_until, c.issued_at, c.issued_by,
    case when ?2 then c.state else coalesce((
        select s.state
        from status_changes s
        where s.credential = c.id and s.recorded_at <= ?3 and s.position <= ?4
        order by s.position desc
        limit 1
    ), 0) end,
    case when ?2 then c.status_changed_at else (
        select s.recorded_at
        from status_changes s
        where s.credential = c.id and s.recorded_at <= ?3 and s.position <= ?4
        order by s.position desc
        limit 1
    ) end
from cursor k
left join credentials c on c.position = (
    select d.position
    from credentials d
    where d.digest = ?1 and d.subject_id is null
      and d.issuer in (select j.id from issuers j where j.name = ?5 or j.id = ?6)
      and d.issued_at <= ?3 and d.position <= ?4
    order by d.position desc
    limit 1
)
left join issuers i on i.id = c.issuer;

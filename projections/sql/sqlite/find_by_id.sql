-- A credential by its id, as it was at the moment asked for, or what is left of it, beside the cursor of the same
-- snapshot.
-- ?1 id, ?2 whether the newest state is wanted, ?3 and ?4 the time and position asked for.
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
    ) end,
    x.position, x.id, x.issuer, y.name, x.subject_id, x.digest
from cursor k
left join credentials c on c.id = ?1 and c.issued_at <= ?3 and c.position <= ?4
left join issuers i on i.id = c.issuer
left join erased_credentials x on x.id = ?1
left join issuers y on y.id = x.issuer;

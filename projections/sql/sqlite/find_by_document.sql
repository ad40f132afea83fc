-- A credential by its document's digest, as it was at the moment asked for, or what is left of it, beside the cursor of the
-- same snapshot.
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
    ) end,
    x.position, x.id, x.issuer, y.name, x.subject_id, x.digest
from cursor k
left join credentials c on c.position = (
    select d.position
    from credentials d
    where d.digest = ?1 and d.subject_id is not null and d.issued_at <= ?3 and d.position <= ?4
    order by d.position desc
    limit 1
)
left join issuers i on i.id = c.issuer
left join erased_credentials x on x.position = (select min(e.position) from erased_credentials e where e.digest = ?1)
left join issuers y on y.id = x.issuer;

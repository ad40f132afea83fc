-- Credentials, newest first; beside the cursor of the same snapshot. Planned for each question, by the index that suits it.
-- $1 issuer, $2 type, $3 subjects, $4 status at $5, $6 issued before, $7 how many, $8 the state that the status follows from alone, if one.
select
    k.generation, k.stage, k.position, k.chain_hash, k.head_seen, k.confirmed_at, k.unhealthy,
    c.position, c.id, c.type, c.issuer, i.name, c.subject_id, c.digest, c.valid_from, c.valid_until, c.issued_at, c.issued_by,
    c.state, c.status_changed_at
from cursors k
left join (
    select *
    from credentials_{generation}
    where position < $6
      and ($1::uuid is null or issuer = $1)
      and ($2::text is null or type = $2)
      and ($3::uuid[] is null or subject_id = any($3))
      and ($8::bigint is null or (state > 0 and state = $8))
      and ($4::text is null or $4 = case
          when state = 2 then 'revoked'
          when state = 1 then 'suspended'
          when valid_until <= $5::bigint then 'expired'
          when valid_from > $5 then 'not_yet_valid'
          else 'active'
      end)
    order by position desc
    limit $7
) c on true
left join issuers_{generation} i on i.id = c.issuer
where k.projection = 'verification' and k.generation = {generation} and k.serving
order by c.position desc;

-- what is not changed may be changed by somebody else meanwhile
update issuers
set display_name = case when ?2 then ?3 else display_name end, url = case when ?4 then ?5 else url end
where id = ?1

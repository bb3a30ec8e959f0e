-- What a role may become is found by the reader from its memberships.
select r.oid, r.rolname, r.rolsuper, r.rolbypassrls, r.rolcanlogin,
       array(select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid order by 1)
  from pg_roles r
 where r.rolname !~ '^pg_'
 order by r.rolname

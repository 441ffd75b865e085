-- A column's default changes: rows that are there keep their values, new ones have what the server gave them.
-- table: people
create table people (id int primary key, tier text default 'Bronze');
insert into people (id) values (1);
-- run
alter table people alter column tier set default 'Silver';
insert into people (id) values (2);
alter table people alter column tier drop default;
insert into people (id) values (3);
-- run
-- expect events
--   INSERT  null  {"id": 2, "tier": "Silver"}
--   INSERT  null  {"id": 3, "tier": null}

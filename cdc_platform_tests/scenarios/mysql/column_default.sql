-- A column's default changes: rows that are there keep their values, new ones have what the server gave them.
-- table: people
create table people (id int primary key auto_increment, tier varchar(10) default 'Bronze');
insert into people () values ();
-- run
alter table people alter column tier set default 'Silver';
insert into people () values ();
alter table people alter column tier drop default;
insert into people (tier) values (null);
-- run
-- expect events
--   INSERT  null  {"id": 2, "tier": "Silver"}
--   INSERT  null  {"id": 3, "tier": null}

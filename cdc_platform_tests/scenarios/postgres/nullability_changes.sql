-- NOT NULL is set and dropped: no value changes, and a null that is allowed again arrives.
-- table: people
create table people (id int primary key, name text not null);
insert into people values (1, 'Ada');
-- run
alter table people alter column name drop not null;
insert into people values (2, null);
-- run
delete from people where name is null;
alter table people alter column name set not null;
insert into people values (3, 'Cid');
-- run

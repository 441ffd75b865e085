-- The primary key becomes another column's: rows are told apart by something else, which a person has to decide on.
-- table: people
create table people (id int primary key, email text not null unique, name text);
insert into people values (1, 'ada@example.org', 'Ada');
-- run
alter table people drop constraint people_pkey, add primary key (email);
update people set name = 'Adele' where id = 1;
-- run
-- expect stop 4 upsert: public.people: primary key changed from (id) to (email) at ...: rows are found by their key; begin the pipeline anew

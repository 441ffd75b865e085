-- A column is dropped: gone from the current state, kept in the history, null there from then on.
-- table: people
create table people (id int primary key, name text, phone text, age int);
insert into people values (1, 'Ada', '123', 36), (2, 'Bob', null, 40);
-- run
update people set phone = '456' where id = 2;
alter table people drop column phone;
insert into people values (3, 'Cid', 20);
-- run
-- expect columns append: id, name, phone, age
-- expect columns upsert: id, name, age

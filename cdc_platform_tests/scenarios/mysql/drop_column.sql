-- A column is dropped: gone from the current state, kept in the history, null there from then on.
-- table: people
create table people (id int primary key, phone varchar(20), name varchar(100));
insert into people values (1, '123', 'Ada'), (2, null, 'Bob');
-- run
update people set phone = '456' where id = 2;
alter table people drop column phone;
insert into people values (3, 'Cid');
-- run
-- expect columns append: id, phone, name
-- expect columns upsert: id, name

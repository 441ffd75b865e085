-- An identity column is added: numbered in the rows that are there, without a change in the log.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
alter table people add column number int generated always as identity;
insert into people (id, name) values (3, 'Cid');
-- run

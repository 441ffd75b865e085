-- Changes of another session between two runs, made in an order that is not that of their keys.
-- table: people
create table people (id text primary key, name text);
insert into people values ('b', 'Bob'), ('a', 'Ada'), ('ä', 'Ärger'), ('A', 'capital');
-- run
-- session a: begin;
update people set name = 'by a' where id = 'a';
-- session b: begin;
update people set name = 'by b' where id = 'b';
-- session a: commit;
update people set name = 'by a, too' where id = 'ä';
-- session b: update people set name = 'by b, too' where id = 'A';
commit;
-- run

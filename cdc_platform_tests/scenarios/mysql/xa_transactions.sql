-- XA: nothing before XA COMMIT, all at it; XA ROLLBACK leaves nothing.
-- By XA COMMIT the rows' place in the log is passed, so the table is compared with its source: its events come in the
-- order of the source's rows, and what an UPDATE replaced is not known but for the key.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada');
-- run
-- session b: xa start 'one_$database';
insert into people values (2, 'Bob');
update people set name = 'Adele' where id = 1;
xa end 'one_$database';
xa prepare 'one_$database';
-- session a: insert into people values (4, 'Dan');
-- run
-- expect events
--   INSERT  null  {"id": 4, "name": "Dan"}
-- session b: xa commit 'one_$database';
xa start 'two_$database';
insert into people values (3, 'nobody');
xa end 'two_$database';
xa prepare 'two_$database';
xa rollback 'two_$database';
-- run
-- expect events
--   UPDATE  {"id": 1, "name": null}  {"id": 1, "name": "Adele"}
--   INSERT  null                     {"id": 2, "name": "Bob"}

-- XA: nothing before XA COMMIT, all at it; XA ROLLBACK leaves nothing.
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
--   INSERT  null                      {"id": 2, "name": "Bob"}
--   UPDATE  {"id": 1, "name": "Ada"}  {"id": 1, "name": "Adele"}

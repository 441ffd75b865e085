-- JSON as the server shows it, through snapshot and stream alike.
-- table: documents
create table documents (id int primary key, body json);
insert into documents values (1, '{"b": 1, "a": [1, 2.50, null, true, "ü"]}'), (2, 'null'), (3, null), (4, '"x"');
-- run
insert into documents select id + 10, body from documents;
update documents set body = json_set(body, '$.b', 2) where id = 1;
-- run

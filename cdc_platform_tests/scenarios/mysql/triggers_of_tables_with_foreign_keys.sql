-- A trigger of a table with foreign keys writes to a table that is written to directly, too: MySQL flags the table in the
-- log of the one statement and not of the other, in one file.
-- table: films
-- table: titles
create table languages (id int primary key);
create table films (id int primary key, language int, title text, foreign key (language) references languages (id));
create table titles (id int primary key, title text);
create trigger title after insert on films for each row insert into titles values (new.id, new.title);
insert into languages values (1);
insert into titles values (1, 'by hand');
-- run
insert into titles values (2, 'by hand again');
insert into films values (3, 1, 'by the trigger');
update titles set title = 'changed' where id = 3;
-- run

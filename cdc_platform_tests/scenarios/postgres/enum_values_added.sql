-- Members are added to an enum and renamed: rows show the names that the server shows.
-- table: moods
create type mood as enum ('good', 'bad');
create table moods (id int primary key, mood mood);
insert into moods values (1, 'good');
-- run
alter type mood add value 'fair' before 'bad';
insert into moods values (2, 'fair');
-- run
alter type mood rename value 'good' to 'great';
insert into moods values (3, 'great');
-- run

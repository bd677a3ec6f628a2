// Package bench measures what is compared: each bench runs every subject, ours and
// its peers, turn by turn in one run, so that whatever else the machine does meets
// all of them alike.
//
//	round 1: subject A  B  C     round 2: subject B  C  A     ...
//	           |        |  |
//	           v        v  v
//	         one sample a round in each Row --> median, spread --> table, picture, JSON
//
// Compare medians of one run only.
//
// A new bench is a Bench in All: it fills a Result through its Adder, whose order of
// calls is the order of the table. Names of subjects and rows are for readers.
package bench

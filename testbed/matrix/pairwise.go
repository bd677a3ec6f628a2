package matrix

// Pairwise chooses rows in which each value of a factor meets each value of
// every other factor at least once. sizes says how many values the factors
// have, of which there are two or more; a row has the number of a value for
// each. The same sizes give the same rows, about as few as there can be.
func Pairwise(sizes []int) [][]int {
	type pair struct{ f, v, g, w int }
	open := make(map[pair]bool)
	for f := range sizes {
		for g := f + 1; g < len(sizes); g++ {
			for v := range sizes[f] {
				for w := range sizes[g] {
					open[pair{f, v, g, w}] = true
				}
			}
		}
	}
	covers := func(row []int) (n int) {
		for f := range row {
			for g := f + 1; g < len(row); g++ {
				if open[pair{f, row[f], g, row[g]}] {
					n++
				}
			}
		}
		return n
	}
	// There are few enough rows to look at all of them, each time.
	all := [][]int{nil}
	for _, size := range sizes {
		var longer [][]int
		for _, row := range all {
			for v := range size {
				longer = append(longer, append(row[:len(row):len(row)], v))
			}
		}
		all = longer
	}
	var rows [][]int
	for len(open) > 0 {
		best, most := []int(nil), 0
		for _, row := range all {
			if n := covers(row); n > most {
				best, most = row, n
			}
		}
		for f := range best {
			for g := f + 1; g < len(best); g++ {
				delete(open, pair{f, best[f], g, best[g]})
			}
		}
		rows = append(rows, best)
	}
	return rows
}

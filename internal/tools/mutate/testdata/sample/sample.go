// Package sample is altered by the tests of mutate.
package sample

type flag bool

// Steps holds one place for each operator, each shown by a test, and one that no test shows.
func Steps(n int, list []int) (sum int, small flag) {
	if n < 3 && len(list) > 0 {
		sum = n + 1
	}
	small = flag(n < 2)
	switch {
	case bool(small):
		sum++
	}
	for i := 0; i < len(list); i++ {
		if list[i] == 0 {
			continue
		}
		sum += list[i]
	}
	unseen := 0
	unseen += sum
	_ = unseen
	if small {
		sum -= 100
	}
	return sum, small
}

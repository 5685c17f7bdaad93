package hub

import "testing"

func TestLeaseSize(t *testing.T) {
	last, lastClass := 0, -1
	for n := 1; n <= leaseTo; n += max(1, n/997) {
		size, class := leaseSize(n)
		if size < n || size > max(LeaseFrom, n+n/leaseSteps+1) || class < 0 || class >= len(leases) {
			t.Fatalf("%d bytes get %d, number %d", n, size, class)
		}
		if again, same := leaseSize(size); again != size || same != class {
			t.Fatalf("%d bytes get %d, number %d, and these %d, number %d", n, size, class, again, same)
		}
		if size < last || (size == last) != (class == lastClass) {
			t.Fatalf("size %d is number %d, %d was %d", size, class, last, lastClass)
		}
		last, lastClass = size, class
	}
}

// A buffer is lent again when the last has let go of it, and not before.
func TestLease(t *testing.T) {
	const n = 100 << 10
	l := NewLease(n)
	for Borrow(n) != nil { // what other tests have left
	}
	l.Hold().Release()
	if got := Borrow(n); got != nil {
		t.Fatal("a buffer was lent that somebody holds")
	}
	other := l.Hold()
	l.Release()
	if got := Borrow(n); got != nil {
		t.Fatal("a buffer was lent that one of two still holds")
	}
	other.Release()
	// The race detector has a pool drop some of what it is given.
	for range 100 {
		if got := Borrow(n); got != nil {
			if len(got.Buffer()) != 0 || cap(got.Buffer()) < n {
				t.Fatalf("the buffer has %d bytes and room for %d", len(got.Buffer()), cap(got.Buffer()))
			}
			got.Release()
			return
		}
		NewLease(n).Release()
	}
	t.Fatal("no buffer was lent again")
}

func TestLeaseLimits(t *testing.T) {
	big := NewLease(leaseTo + 1)
	big.Release()
	if got := Borrow(leaseTo + 1); got != nil {
		t.Errorf("a buffer of %d bytes was kept", cap(got.Buffer()))
	}
	if (*Lease)(nil).Hold() != nil {
		t.Error("holding nothing gives something")
	}
	(*Lease)(nil).Release()
	defer func() {
		if recover() == nil {
			t.Error("a buffer can be let go of twice")
		}
	}()
	big.Release()
}

package par

import (
	"testing"

	"openmpa/internal/osnet/osnettest"
)

// The namespace of the test process is that of the router.
func TestMain(m *testing.M) { osnettest.Main(m) }

package mn

import (
	"testing"

	"openmpa/internal/osnet/osnettest"
)

// The namespace of the test process is that of the node.
func TestMain(m *testing.M) { osnettest.Main(m) }

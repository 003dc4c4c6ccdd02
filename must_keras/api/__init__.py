"""The functions and types that users call: `must_keras` names them."""

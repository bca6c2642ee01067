# SPDX-License-Identifier: Apache-2.0
# So that a mix project can take it as a path dependency, without rebar3: {:rollcall, path: "bindings/erlang"}.
defmodule Rollcall.MixProject do
  use Mix.Project

  {:ok, [{:application, :rollcall, properties}]} = :file.consult(Path.join(__DIR__, "src/rollcall.app.src"))
  @properties properties

  def project do
    [
      app: :rollcall,
      version: to_string(@properties[:vsn]),
      description: to_string(@properties[:description]),
      language: :erlang,
      erlc_options: [:debug_info],
      deps: []
    ]
  end

  def application do
    [mod: @properties[:mod], registered: @properties[:registered], env: @properties[:env]]
  end
end

"""Runs LocalStack's Node functions as child processes of this machine, for machines without Docker.

Chosen by LAMBDA_RUNTIME_EXECUTOR=process. A function's package must hold the AWS SDK; it runs on the `node` of PATH.
"""

import json
import os
import subprocess
import threading

from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin

RUNNER = os.path.join(os.path.dirname(__file__), "runner.mjs")
LOG_TAIL_BYTES = 4096


class ProcessExecutorPlugin(RuntimeExecutorPlugin):
    name = "process"

    def load(self, *_args, **_options):
        # LocalStack looks for plugins before its services can be imported.
        from localstack import config
        from localstack.services.lambda_.invocation.lambda_models import InvocationResult
        from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

        class ProcessExecutor(RuntimeExecutor):
            """One environment: a warm Node process that takes requests on its input and answers on a pipe of its own."""

            process = None
            answers = None
            logs = None

            def start(self, env_vars):
                code = str(self.function_version.config.code.get_unzipped_code_location())
                environment = {"PATH": os.environ["PATH"]}
                environment.update((name, str(value)) for name, value in env_vars.items())
                environment["LAMBDA_TASK_ROOT"] = code
                environment["AWS_ENDPOINT_URL"] = f"http://{config.LOCALSTACK_HOST}"
                self.logs = open(os.path.join(config.dirs.tmp, f"lambda-{self.id}.log"), "w+b")
                reading, writing = os.pipe()
                self.process = subprocess.Popen(
                    ["node", RUNNER, str(writing)],
                    cwd=code,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=self.logs,
                    stderr=self.logs,
                    pass_fds=(writing,),
                )
                os.close(writing)
                self.answers = os.fdopen(reading, "rb")

            def stop(self):
                if self.process is None:
                    return
                self.process.terminate()
                try:
                    self.process.wait(10)
                except subprocess.TimeoutExpired:
                    self.process.kill()

            def invoke(self, payload):
                request_id = payload["invoke-id"]
                seconds = self.function_version.config.timeout
                timed_out = threading.Event()

                def end():
                    timed_out.set()
                    self.process.kill()

                deadline = threading.Timer(seconds, end)
                deadline.start()
                try:
                    self.process.stdin.write(json.dumps(payload).encode() + b"\n")
                    self.process.stdin.flush()
                    line = self.answers.readline()
                except BrokenPipeError:
                    line = b""
                finally:
                    deadline.cancel()
                if line:
                    answer = json.loads(line)
                    return self.result(request_id, answer["body"], answer["failed"])
                if timed_out.is_set():
                    return self.failure(request_id, "Sandbox.Timedout", f"Task timed out after {seconds}.00 seconds")
                return self.failure(request_id, "Runtime.ExitError", "Runtime exited without providing a reason")

            def failure(self, request_id, kind, message):
                body = {"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {message}"}
                return self.result(request_id, body, True)

            def result(self, request_id, body, failed):
                return InvocationResult(request_id, json.dumps(body).encode(), failed, self.get_logs())

            def get_logs(self):
                self.logs.flush()
                with open(self.logs.name, "rb") as file:
                    file.seek(max(0, os.path.getsize(self.logs.name) - LOG_TAIL_BYTES))
                    return file.read().decode(errors="replace")

            def get_address(self):
                return "127.0.0.1"

            def get_endpoint_from_executor(self):
                return "127.0.0.1"

            def get_runtime_endpoint(self):
                return f"http://{config.LOCALSTACK_HOST}/_localstack_lambda/{self.id}"

            @classmethod
            def prepare_version(cls, function_version):
                if function_version.config.code:
                    function_version.config.code.prepare_for_execution()

            @classmethod
            def cleanup_version(cls, function_version):
                pass

        return ProcessExecutor
